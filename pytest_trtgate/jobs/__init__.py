"""Jobs: the work that touches the device, each in a process of its own. Only this package imports torch and its kin."""
