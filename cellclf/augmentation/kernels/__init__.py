"""How it is computed: pure keras.ops on any device."""
