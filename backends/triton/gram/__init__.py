"""Few rows of wide heads, such as channels: products over all columns, then weights times rows."""
