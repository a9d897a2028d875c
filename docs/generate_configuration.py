"""Print docs/configuration.md from the options of `pullgate serve`: python docs/generate_configuration.py"""

import click

from pullgate_server.command import options

print(
    """# Configuration of the server

Every option of `pullgate serve` can be given on the command line, in the environment, or as a key of the YAML file that
`--config` (or `PULLGATE_CONFIG`) names; the command line goes before the environment, and both before the file. This
page is generated from the options' one declaration, `server/pullgate_server/configuration.py`, by
`python docs/generate_configuration.py`.

| option | environment | key | default | what it does |
|---|---|---|---|---|"""
)
for option in options():
    if not isinstance(option, click.Option) or not option.expose_value:
        continue
    default = (
        "" if option.default in (None, "") else f"`{str(option.default).lower() if option.is_flag else option.default}`"
    )
    names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    print(f"| {names} | `{option.envvar}` | `{option.name}` | {default} | {option.help} |")
