"""What is wrong where the services run: for whoever looks after them."""
