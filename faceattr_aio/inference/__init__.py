"""Workers and the executor that runs tasks on them."""
