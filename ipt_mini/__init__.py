"""ipt_mini: Imaginative Perception Tokens, small enough to read in one sitting."""
