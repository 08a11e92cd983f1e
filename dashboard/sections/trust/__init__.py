"""Parts of the page that says whether a network can be trusted."""
