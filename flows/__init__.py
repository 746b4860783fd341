"""Order and branching only: a flow reads like what you would tell a colleague."""
