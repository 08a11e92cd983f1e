"""Studies to start one's own from, as YAML with its comments."""

CLAIM = """\
name: claim
description: >-
  Bassi and Attux (2021): twice transfer learning and output neuron keeping help mainly in the beginning of the
  training. All epochs and rates are this project's defaults, not the paper's, which does not give its own.
# data: mine                    # a data set's name or a manifest; or give --data
recipes:
  scratch: {recipe: scratch}
  imagenet: {recipe: imagenet}
  twice: {recipe: twice}
  twice-keep: {recipe: twice-keep}
  # Control: findings without ImageNet, so that what each of the two brings can be told apart.
  once: {recipe: twice, set: {weights: null}}
set:                            # for all recipes; a recipe's own `set` goes over it
  stages.-1.epochs: 15          # the last stage is what is compared, so it is as long for all
seeds: [0, 1, 2, 3, 4]          # the same for all recipes: differences are paired. Or a number
metric: val_accuracy            # or val_macro_f1, val_auc, val_loss
accuracy: [0.7, 0.8]            # levels of the metric: the epoch that first reaches each is reported
first_epochs: [3, 5]            # what "the beginning" means; the last one may leave no end to compare with
baseline: scratch
parallel: 1                     # trainings at once; they still queue for their device
on_failure: go-on               # or stop
"""

EXAMPLES: dict[str, str] = {"claim": CLAIM}
