"""The ratio of two samples: ratios.py SAMPLES RESULTS TITLE OURS THEIRS TARGET.

SAMPLES has a line `name TAB value` for each round, in the order of the rounds. The ratio is taken round by round, so
that what else ran on the machine hit both sides of each, and its median is printed. RESULTS gets a line for the table.
"""

import statistics
import sys

samples_file, results_file, title, ours, theirs, target = sys.argv[1:]
samples = {}
with open(samples_file, encoding="utf-8") as lines:
    for line in lines:
        name, value = line.rstrip("\n").split("\t")
        samples.setdefault(name, []).append(float(value))
if not samples.get(ours) or len(samples[ours]) != len(samples.get(theirs, [])):
    sys.exit(f"there are no pairs of `{ours}` and `{theirs}`")
ratios = [a / b for a, b in zip(samples[ours], samples[theirs])]
ratio = statistics.median(ratios)
median = {name: statistics.median(samples[name]) for name in (ours, theirs)}
verdict = "for information" if target == "-" else f"target {target}: {'met' if ratio >= float(target) else 'NOT met'}"
print(f"{title}: {median[ours]:,.0f} / {median[theirs]:,.0f} = {ratio:.2f} "
      f"({min(ratios):.2f} to {max(ratios):.2f}; {verdict})")
with open(results_file, "a", encoding="utf-8") as results:
    goal = "" if target == "-" else f"≥ {target}"
    results.write(f"| {title} | {median[ours]:,.0f} | {median[theirs]:,.0f} | {ratio:.2f} | {goal} |\n")
