"""What happens when something fails or attacks."""
