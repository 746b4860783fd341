"""The verbs of delivery, one module each: plain functions over the adapters, for tasks and the command line alike.

`desk` opens what one stage needs; `look` reads it all into a `StageView`; `promote`, `intent`, `sync`, `judge`,
`restore` and `approve` act; `integrate` makes releases; `revisions` asks Git what is new; `history` reads the ledger.
"""
