"""What happens under load."""
