package main

import "hbmfs/cmd/hbmfs/internal/pin"

// pinShell is what the commands of package pin share with the others.
func pinShell() pin.Shell {
	return pin.Shell{
		Args: usageArgs, Usagef: usagef, Answers: checkAnswers, UntilSignal: untilSignal,
		Explain: explainEIO, Complain: complain, Shown: shownText, JSON: writeJSON,
	}
}
