"""Problems drawn with what is known about them."""
