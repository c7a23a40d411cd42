"""The numbers that the rules of the verdicts use, each with its reason; `convc.report.rules` states rules from them."""

from __future__ import annotations

IMAGES = 500
"""Validation images where the caller does not say: those of mnist5k. Fewer than there are only makes rules cautious."""
# Below, half a run is two or three points, through which any story can be told.
MIN_EPOCHS = 6
# Epochs of a level, where it is not over a third of the run: a median of three is not moved by one odd epoch.
LEVEL_EPOCHS = 3
# An accuracy this many standard errors above chance is no chance: p = 3e-7 at each epoch, and a run has tens of them.
CHANCE_ERRORS = 5
# Two accuracies of one run that lie this far apart differ: p = 6e-5 for each pair, and a run has hundreds of them.
DROP_ERRORS = 4
# Of what accuracy had gained over chance: less than this left is a run that came apart.
KEPT = 0.5
# ... as is a loss of five points that stays; overfitting costs a point or two.
LOST_ACCURACY = 0.05
# Small rates leave chance by tiny steps, nearly all of them downwards; noise goes down in half.
SLOW_START_SHARE = 0.9
# Noise of 500 images moves the validation loss by up to this from epoch to epoch, and more where the rate is too high,
LOSS_SWING = 0.10
# which then moves the training loss too, over thousands of images,
TRAIN_SWING = 0.05
# and keeps it from falling.
TRAIN_RISES = 1 / 3
# With such a swing there is no level to converge to, or to rise from, whatever the training loss does.
WILD_SWING = 0.20
# Of a loss: within this, a curve looks flat; beyond, it has risen or fallen.
NEAR = 0.10
# Training loss as a share of validation loss: below, more epochs only memorise.
LEARNED_BY_HEART = 0.25
# In nats: differences under it move no prediction, and a logarithm needs a floor.
LOSS_FLOOR = 0.01
# The lowest of a run's levels lies about this many swings below their middle, by chance alone.
LOWEST_SWINGS = 2
# Two levels over a third of the run differ where they are this many swings, over the root of the epochs in a third,
# apart: 2.4 standard errors of their difference, as noise of 1 swings by 0.85 and a median errs 1.25 times as a mean.
THIRD_SWINGS = 5
