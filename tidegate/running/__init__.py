"""How Tidegate runs on one machine: a Prefect server, a runner, a warm process that flow runs fork from, watched."""
