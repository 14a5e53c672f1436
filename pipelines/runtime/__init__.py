"""What every command needs while it runs: signals, clock, exit codes."""
