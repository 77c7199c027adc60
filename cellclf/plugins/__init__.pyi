from .hookspecs import hookimpl as hookimpl
