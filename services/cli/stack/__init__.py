"""`prospect demo` and `prospect dev`: the whole stack on this machine."""
