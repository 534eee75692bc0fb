"""How files that the suite ships were made; nothing of the product imports this."""
