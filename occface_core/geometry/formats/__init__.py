"""One module per mesh file format; use :mod:`occface_core.geometry.mesh_io`."""
