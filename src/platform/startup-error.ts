// What a person who starts a process must mend: a taken port, a missing variable, a broken data folder.

/** Ends the process with exit code 1. The message is the one line that is printed: what is wrong and what to do. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
}
