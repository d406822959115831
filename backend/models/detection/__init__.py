"""What finds faces and places their landmarks."""
