"""What runs a network, and what makes one. Imports nothing of the other rooms but `vedette.errors`."""
