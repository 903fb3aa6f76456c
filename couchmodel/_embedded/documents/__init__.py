"""Documents as they are stored, read and written, with their attachments and the functions that check them."""
