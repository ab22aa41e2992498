"""Opens, exports and describes trained networks of every kind."""
