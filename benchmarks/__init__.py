"""Speed, measured side by side: every figure is a ratio of programs run in turn, in one run, on one machine."""
