"""What `pullgate check` does, in its order:

tree.py            which files are looked into
items.py           from files to items: what is found, decided about, and marked as not counting
deciding.py        the answers: of the service, or from files of policies
repositories.py    what holds of an image whose tag is not known
alternatives.py    what would be allowed in place of what is denied
ignores.py         comments that have a finding not count
baseline.py        findings that were there before, which do not count
report.py          all that came out: the value that every format is made of
rules.py           what is told, under names that stay
*_report.py        the formats
writing.py         the formats by name, and the files they are written to
progress.py        what goes on, on a terminal
"""
