"""The intermediate representation: types, graphs, views, text form, verifier and interpreter."""
