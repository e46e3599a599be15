// SPDX-License-Identifier: Apache-2.0
#include "stage.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace tcptrail::live {

Fd open_listener(const Stage& stage, Net net) {
    Fd listener = listen_on(net, kPort);
    stage.listening.give();
    return listener;
}

std::vector<Fd> accept_and_greet(int listener, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(accept_from(listener));
        put(fds.back().get(), 1);
    }
    return fds;
}

Fd dial_and_note(const Stage& stage, int i, Net net) {
    Fd fd = dial(net, kPort);
    get(fd.get(), 1);
    stage.note(i, fd.get());
    return fd;
}

std::vector<Fd> dial_all(const Stage& stage, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(dial_and_note(stage, i));
    }
    return fds;
}

pid_t fork_named(const char* comm, const std::function<void()>& body) {
    const pid_t pid = fork();
    if (pid < 0) {
        raise("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, comm);
        alarm(60);
        try {
            body();
        } catch (const std::exception& error) {
            dprintf(STDERR_FILENO, "%s: %s\n", comm, error.what());
            _exit(1);
        }
        _exit(0);
    }
    return pid;
}

void wait_for(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        throw std::runtime_error("a forked process of the scene failed");
    }
}

void send_fd(int channel, int fd) {
    char byte = 'f';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    if (sendmsg(channel, &message, 0) != 1) {
        raise("send a descriptor");
    }
}

Fd receive_fd(int channel) {
    char byte = 0;
    iovec data{&byte, 1};
    int fd = -1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1) {
        raise("receive a descriptor");
    }
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return Fd(fd);
}

void let_timers_alone_end(Arena& arena) {
    arena.sysctl("net/ipv4/tcp_tw_reuse", "0");
    arena.sysctl("net/ipv4/tcp_rfc1337", "1");
}

Tuple listener_tuple(Net net, std::uint16_t port) {
    Tuple tuple;
    tuple.v6 = net != Net::v4;
    const char* any = net == Net::v4 ? "127.0.0.1" : net == Net::v6 ? "::1" : "::";
    std::strncpy(tuple.laddr, any, sizeof tuple.laddr - 1);
    tuple.lport = port;
    return tuple;
}

Side listener_side(const Who& owner, const Who& closer, Net net) {
    return Side::listening(listener_tuple(net), owner, closer);
}

}  // namespace tcptrail::live
