"""Who may press what, and the sign-in."""
