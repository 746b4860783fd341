"""What Tidegate costs: one module per question, each measured against a floor in the same run.

A benchmark is a module with a docstring that says what is compared, `GOALS` (what we promise, by name) and
`run(world)`, which returns rows of the table. `python -m benchmarks [NAME…]` finds them by themselves.
"""
