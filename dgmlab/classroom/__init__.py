"""Teaching with the labs: slides, copies to hand out, notes for the instructor, and grades for what comes back.

Everything is made from the one notebook of a lab: :mod:`~dgmlab.classroom.slides` projects it,
:mod:`~dgmlab.classroom.handout` cuts it into copies,
:mod:`~dgmlab.classroom.portable` lets copies run where dgmlab is not installed, :mod:`~dgmlab.classroom.rehearsal`
measures what the notes say, and :mod:`~dgmlab.classroom.grading` judges submissions, each in a process of its own
(:mod:`~dgmlab.classroom.worker`).
"""
