"""Book what the services decided, and say what the ledger then holds."""

from services.pipeline import hop
from services.privacy_accountant.book import book
from services.privacy_accountant.charge import begin, step
from services.privacy_accountant.figures import figures
from services.runtime.service import Service
from services.runtime.shell import serve

if __name__ == "__main__":
    serve(Service(hop("privacy_accountant"), begin, step), book=book, figures=figures)
