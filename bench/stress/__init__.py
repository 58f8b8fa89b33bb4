"""How the service behaves under users, and how many machines a number of users would take."""
