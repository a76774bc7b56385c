"""Published events, which are kept until our consumers have handled them."""
