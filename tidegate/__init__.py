"""Tidegate takes a commit from `git push` to production and keeps it healthy there.

Floors, top to bottom (checked by import-linter inside pytest; nothing imports upward):

    flows        order and branching, what you would tell a colleague
    tasks        one Prefect task = at most one look, one decision, one act     | tidegate.cli
    running      Prefect server, runner and what starts flow runs, on one machine
    operations   look, promote, sync, judge, restore: the same verbs for tasks and the command line
    adapters     sockets, files, subprocesses: git, targets, renderers, metrics | tidegate.sim
    plugins      kind -> module; the folder is the registry
    domain       decisions: data in, data out
    spec         what users write
    settings     how we are run                                                 | tidegate.errors
"""
