"""One side stays in a tile, the other is streamed once: latents, duplex, reversed, hard."""
