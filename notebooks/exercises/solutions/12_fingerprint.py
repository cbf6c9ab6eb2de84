"""Solution of exercise 12."""

import math


def implied_distance(mean_sep, scr):
    # two prototypes of norm R are 2 R sin(MeanSep / 2) apart; SCR is that over the distance of a feature
    return 2 * math.sin(math.radians(mean_sep) / 2) / scr


def log_distance(ours, paper):
    return sum(abs(math.log(ours[name] / paper[name])) for name in paper)


def decide(distances):
    fits = {n: of for n, of in distances.items() if all(d / 8 < math.log(1.25) for d in of.values())}
    if not fits:
        return "sum"
    best, *others = sorted(fits, key=lambda name: sum(fits[name].values()) / len(fits[name]))
    if others and any(fits[others[0]][seed] < fits[best][seed] for seed in fits[best]):
        return "mean"
    return best
