"""How long entries are kept, and how a user is erased."""
