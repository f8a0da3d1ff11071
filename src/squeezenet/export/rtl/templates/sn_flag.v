// One bit, N cycles with `enable` later; 0 after a reset.
module sn_flag #(
    parameter N = 2
) (
    input wire clk,
    input wire rst,
    input wire enable,
    input wire in,
    output wire out
);
    reg [N-1:0] held;
    assign out = held[N-1];
    always @(posedge clk)
        if (rst) held <= 0;
        else if (enable) held <= {held[N-2:0], in};
endmodule
