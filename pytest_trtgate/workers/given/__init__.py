"""Files that are gated as they are: looked into, and run by Ultralytics as if it had written them."""
