"""Where the kernels run: `base` says what a target is, `dispatch` chooses one, and each is a package or module here."""
