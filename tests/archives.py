"""Archives for tests, also such as no honest server would send."""

import io
import tarfile


def tar_of(*members) -> bytes:
    """A .tar.gz of (name, content) pairs: bytes are a file, (type, target) is a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content
                tar.addfile(member)
    return buffer.getvalue()
