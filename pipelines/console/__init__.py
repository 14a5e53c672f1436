"""The web console: figures to look at, and changes to propose and to decide on."""
