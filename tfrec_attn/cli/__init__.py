"""What commands have in common: options, text on the terminal."""
