"""What every command uses while it runs: signals, clock, observer, exit codes."""
