"""The one error a user of the kit can cause: what happened, where, and what to do about it."""


class KoaError(Exception):
    """Something the user can put right.

    Parameters
    ----------
    what
        What happened, as a plain sentence.
    where
        The file, column or value it happened to.
    remedy
        What to do next.

    Examples
    --------
    >>> print(KoaError("The image is truncated.", where="9001695L.png", remedy="Fetch it again."))
    The image is truncated.
      where: 9001695L.png
      to do: Fetch it again.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        lines = [what]
        if where is not None:
            lines.append(f"  where: {where}")
        if remedy:
            lines.append(f"  to do: {remedy}")
        super().__init__("\n".join(lines))
