"""Experiments: arms x seeds under one recipe, as a study that many workers share and that can be interrupted anywhere.

`spec` says what is compared and `units` how that falls into pieces of work; `arms` makes the nets, `bench` searches,
trains and measures one piece in run folders; `study` is the queue (an Optuna study), `worker` takes from it; `results`
gathers what is there, `table` says what it shows and `page` draws it.
"""
