"""Networks that turn pictures into feature maps, and the plugins that bring more of them."""
