"""What all commands share: calling a service, tables, times and messages on the screen."""
