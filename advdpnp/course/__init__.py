"""A course from the exercises: two bundles (`make course`), and submissions graded by Otter-Grader's test files.

    questions.py   what is asked, on which inputs, and how an answer is judged; the tests of the bundle call it
    bundle.py      dist/course-student and dist/course-teacher from notebooks/exercises
    sandbox.py     a process for each submission: time, memory, no network
    submission.py  a student's notebook beside the one that was handed out; which of its cells run, and how
    grade.py       the pool, what is kept for the next call, the CSV and the feedback

docs/teaching.md says how it is used, what it is built on, and what it does not protect from.
"""
