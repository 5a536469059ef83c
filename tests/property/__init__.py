"""Random input (hypothesis): what must hold for any split, any order and any bytes."""
