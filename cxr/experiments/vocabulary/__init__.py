"""The vocabulary of burned-in text, and what it gives away of the class."""
